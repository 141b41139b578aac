"""The contract, the episode store and what turns recordings into training data."""
