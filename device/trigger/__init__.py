"""What presses the button: a GPIO pin, a key of the keyboard, a command or a signal."""
