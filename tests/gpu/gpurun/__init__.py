"""What `make gpu` runs on a machine with a GPU. Only the parts need more than Python itself."""
