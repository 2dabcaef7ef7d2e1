"""What a person teaches: things of their own, known by a few pictures, and by thumbs what is worth saying."""
