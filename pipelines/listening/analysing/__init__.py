"""From ratings to a table: screening, means and intervals, tests between systems, a plot."""
