"""`rlco-serve replay`: recorded frames through a live server, and where the two disagree."""
