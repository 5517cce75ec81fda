"""How it is shown: stick figures, plots, the report."""
