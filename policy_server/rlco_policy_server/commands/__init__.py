"""The subcommands of `rlco-serve`, each `main(arguments)`."""
