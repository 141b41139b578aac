"""The wire protocols of the policy server, one file each; numpy and msgpack only."""
