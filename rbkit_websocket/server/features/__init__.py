"""What the server can do, by question. Each feature registers its commands and is given only what it uses."""
