"""What each precision of a model costs in quality, memory and time, on whatever device there is."""
