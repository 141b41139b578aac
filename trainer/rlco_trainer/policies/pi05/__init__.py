"""The `pi05` family: PaliGemma, an action expert beside it, flow matching over a chunk."""
