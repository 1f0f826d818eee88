"""What clients and server tell each other, as messages, and what is learned from them."""
