//! The jetpace agent: its commands, and what they share.
