//! The mistakes that a replay makes on purpose, and that the harness must find.
//!
//! Depends on no other module.

/// Defines `Fault`, the mistakes of one target. `Fault::ALL` are those that the replay makes.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A mistake on purpose, which the harness must find.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            None,
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

pub(crate) use faults;
