"""What tests stand on: servers, fault proxies, builders and loud skips."""
