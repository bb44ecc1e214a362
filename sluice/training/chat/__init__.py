"""The demo's chat model: conversations between customers and the shop, and a language model that learns from them."""
