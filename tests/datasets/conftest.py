"""Property tests here have no deadline: CI machines are shared."""

from hypothesis import settings

settings.register_profile("shared_machine", deadline=None, max_examples=50)
settings.load_profile("shared_machine")
