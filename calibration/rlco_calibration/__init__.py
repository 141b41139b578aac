"""From measurements of a bench to its twin file."""
