"""HTTP policy inference: the server, its wire format and a light client."""
