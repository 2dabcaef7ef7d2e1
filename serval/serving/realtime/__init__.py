"""`/v1/realtime`: a conversation over one socket, in the events of OpenAI's realtime API, with Serval's own beside them."""
