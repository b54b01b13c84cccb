"""What runs in the rehearsed containers: the services as their contracts in facts/ describe them."""
