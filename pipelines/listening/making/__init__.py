"""From an evaluation's folder to a page that can be sent to raters."""
