"""DTLS: TLS for datagrams."""
