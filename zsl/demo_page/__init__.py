"""A local page on which any words are asked of images."""
