"""Features of the server, one for each question. Each registers its commands and is given only what it uses."""
