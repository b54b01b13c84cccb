"""What runs in the rehearsed containers: the services, as their contracts describe them."""
