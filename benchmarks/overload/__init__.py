"""Seven experiments that show whether the mesh degrades instead of failing, each with the mechanism on and off."""
