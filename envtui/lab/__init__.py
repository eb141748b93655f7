"""Three throw-away environments on this machine: real servers, and a gateway that can be broken. Beside the product."""
