"""One self-contained HTML report of a study: what was compared, what came out, how sure it is."""
