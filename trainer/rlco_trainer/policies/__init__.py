"""Policy families behind one interface; `checkpoint.load_policy` builds one from a folder."""
