"""Lists tar archives in place, without unpacking them."""
