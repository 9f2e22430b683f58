//! A UDP path emulator in user space.
