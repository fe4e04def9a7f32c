//! Bytes of bodies: columns and segments. Pure; knows nothing of stores, and trusts no length it reads.
