//! Virtual machines: starts images and says whether the application came up.
