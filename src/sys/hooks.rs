//! Functions that the dynamic linker calls: pointers to them lie in sections that it knows.

/// Declares a static whose function runs when the library is loaded: at the start of the program,
/// or in `dlopen`.
///
/// The dynamic linker has relocated the library by then, and calls the function once, on one
/// thread. A linker that takes from an archive only what the program refers to leaves the static
/// out, unless code that the program uses refers to it.
macro_rules! at_load {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident = $function:path;) => {
        $(#[$attribute])*
        #[used]
        #[cfg_attr(
            not(any(target_vendor = "apple", target_os = "aix")),
            unsafe(link_section = ".init_array")
        )]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
        $visibility static $name: extern "C" fn() = $function;
    };
}

/// Declares a static whose function runs when the process exits by `exit` or by a return from
/// `main`, after the program's exit handlers and the destructors of its static objects. As for
/// [`at_load`], code must refer to it.
macro_rules! at_exit {
    ($(#[$attribute:meta])* $visibility:vis static $name:ident = $function:path;) => {
        $(#[$attribute])*
        // The number in the section's name puts the function behind those of the program.
        #[used]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array.00000"))]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
        $visibility static $name: extern "C" fn() = $function;
    };
}

pub(crate) use {at_exit, at_load};
