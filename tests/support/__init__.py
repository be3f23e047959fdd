"""What the tests share: a stand-in Rbkit server, real web servers, applications, WebSocket clients."""
