"""What systems share: packets that are counted, programs that are run, settings that are searched,
and sounds brought back to their place in time."""
