//! The public interface of the crate, item by item, is the list in docs/public-api.txt. So a change
//! of the interface shows in a review as a change of that file.
//!
//! `UPDATE_API=1 cargo test --test public_api` writes the list anew. It is made of the sources: the
//! names that `src/lib.rs` exports, their fields, variants and functions, and each `impl` of a
//! trait that has one of the names as its type, as its trait or in the trait's arguments, wherever
//! it stands. (What the C interface exports is in the header.)

use quote::ToTokens;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use syn::{
    Attribute, Fields, GenericArgument, ImplItem, Item, PathArguments, TraitItem, Type, UseTree,
    Visibility,
};

const LIST: &str = "docs/public-api.txt";

/// Tokens as text, without the spaces that the compiler's printer puts between them.
fn text(tokens: impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (from, to) in [
        (" :: ", "::"),
        (" < ", "<"),
        (" >", ">"),
        (" , ", ", "),
        (" : ", ": "),
        ("& ", "&"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
        ("[ ", "["),
        (" ]", "]"),
        (" ;", ";"),
        ("' ", "'"),
        (":: ", "::"),
        ("? ", "?"),
        ("* ", "*"),
        ("< ", "<"),
        (",)", ")"),
        (" ,", ","),
        ("# [", "#["),
    ] {
        text = text.replace(from, to);
    }
    text.replace(",>", ">").replace("->", " -> ").replace("  ", " ")
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// What an item needs to be there, and what it derives, must be used for, and is marked as.
fn marks(attributes: &[Attribute]) -> String {
    let told = ["cfg", "derive", "must_use", "non_exhaustive", "repr", "deprecated"];
    let marks = attributes
        .iter()
        .filter(|attribute| told.iter().any(|name| attribute.path().is_ident(name)));
    marks.map(|attribute| text(attribute) + " ").collect()
}

/// The names that a tree of `pub use` exports.
fn exported(tree: &UseTree, names: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(path) => exported(&path.tree, names),
        UseTree::Name(name) => drop(names.insert(name.ident.to_string())),
        UseTree::Rename(name) => drop(names.insert(name.rename.to_string())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| exported(tree, names)),
        UseTree::Glob(_) => panic!("a glob exports names that are not listed here"),
    }
}

/// The name of the type that an `impl` is for, without reference and arguments.
fn name_of(of: &Type) -> Option<String> {
    match of {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        Type::Reference(reference) => name_of(&reference.elem),
        _ => None,
    }
}

/// Whether the path of a trait names an item of `names`: the trait, or a type in its arguments.
fn path_names(path: &syn::Path, names: &BTreeSet<String>) -> bool {
    let of_type = |argument: &GenericArgument| match argument {
        GenericArgument::Type(of) => type_names(of, names),
        _ => false,
    };
    path.segments.last().is_some_and(|segment| {
        let in_arguments = match &segment.arguments {
            PathArguments::AngleBracketed(arguments) => arguments.args.iter().any(of_type),
            _ => false,
        };
        in_arguments || names.contains(&segment.ident.to_string())
    })
}

/// Whether a type names an item of `names`: the type, or what it is made of.
fn type_names(of: &Type, names: &BTreeSet<String>) -> bool {
    match of {
        Type::Path(path) => path_names(&path.path, names),
        Type::Reference(reference) => type_names(&reference.elem, names),
        Type::Slice(slice) => type_names(&slice.elem, names),
        Type::Array(array) => type_names(&array.elem, names),
        Type::Tuple(tuple) => tuple.elems.iter().any(|of| type_names(of, names)),
        _ => false,
    }
}

/// Adds the names of the types that are defined here, exported or not.
fn defined(items: &[Item], types: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Struct(item) => drop(types.insert(item.ident.to_string())),
            Item::Enum(item) => drop(types.insert(item.ident.to_string())),
            Item::Union(item) => drop(types.insert(item.ident.to_string())),
            _ => {}
        }
    }
}

/// Adds the lines of the items whose names are exported. An `impl` is listed if its type is
/// exported, and also if its trait or an argument of the trait is, unless the type is `hidden`.
fn list(
    items: &[Item],
    names: &BTreeSet<String>,
    hidden: &BTreeSet<String>,
    lines: &mut BTreeSet<String>,
) {
    let is_listed = |visibility: &Visibility, name: &dyn ToString| {
        is_public(visibility) && names.contains(&name.to_string())
    };
    for item in items {
        match item {
            Item::Struct(item) if is_listed(&item.vis, &item.ident) => {
                let head = format!("struct {}{}", item.ident, text(&item.generics));
                lines.insert(format!("{}{head}", marks(&item.attrs)));
                if let Fields::Named(fields) = &item.fields {
                    for field in fields.named.iter().filter(|field| is_public(&field.vis)) {
                        let name = field.ident.as_ref().unwrap();
                        lines.insert(format!("{}::{name}: {}", item.ident, text(&field.ty)));
                    }
                }
            }
            Item::Enum(item) if is_listed(&item.vis, &item.ident) => {
                lines.insert(format!(
                    "{}enum {}{}",
                    marks(&item.attrs),
                    item.ident,
                    text(&item.generics)
                ));
                for variant in &item.variants {
                    let fields = text(&variant.fields);
                    lines.insert(
                        format!("{}::{} {fields}", item.ident, variant.ident).trim_end().to_owned(),
                    );
                }
            }
            Item::Trait(item) if is_listed(&item.vis, &item.ident) => {
                let unsafety = if item.unsafety.is_some() { "unsafe " } else { "" };
                let bounds = text(&item.supertraits);
                lines.insert(format!(
                    "{unsafety}trait {}{}: {bounds}",
                    item.ident,
                    text(&item.generics)
                ));
                for member in &item.items {
                    let member = match member {
                        TraitItem::Fn(function) => text(&function.sig),
                        TraitItem::Const(constant) => {
                            format!("const {}: {}", constant.ident, text(&constant.ty))
                        }
                        TraitItem::Type(of) if of.bounds.is_empty() => format!("type {}", of.ident),
                        TraitItem::Type(of) => format!("type {}: {}", of.ident, text(&of.bounds)),
                        _ => continue,
                    };
                    lines.insert(format!("{}::{member}", item.ident));
                }
            }
            Item::Type(item) if is_listed(&item.vis, &item.ident) => {
                let (generics, of) = (text(&item.generics), text(&item.ty));
                lines.insert(format!("type {}{generics} = {of}", item.ident));
            }
            Item::Fn(item) if is_listed(&item.vis, &item.sig.ident) => {
                lines.insert(format!("{}{}", marks(&item.attrs), text(&item.sig)));
            }
            Item::Macro(item) if item.attrs.iter().any(|a| a.path().is_ident("macro_export")) => {
                lines.insert(format!("macro {}!", item.ident.as_ref().unwrap()));
            }
            Item::Impl(item) => {
                let name = name_of(&item.self_ty);
                let is_exported = name.is_some_and(|name| names.contains(&name));
                let is_hidden = type_names(&item.self_ty, hidden);
                let of_trait = item.trait_.as_ref().map(|(_, path, _)| path);
                if !is_exported
                    && (is_hidden || !of_trait.is_some_and(|path| path_names(path, names)))
                {
                    continue;
                }
                let clause = item.generics.where_clause.as_ref().map_or(String::new(), text);
                let of = format!(
                    "{}{}",
                    text(&item.self_ty),
                    if clause.is_empty() { clause } else { format!(" {clause}") }
                );
                let generics = text(&item.generics);
                if let Some((_, path, _)) = &item.trait_ {
                    let head =
                        format!("{}impl{generics} {} for {of}", marks(&item.attrs), text(path));
                    for member in &item.items {
                        if let ImplItem::Type(of) = member {
                            lines.insert(format!("{head}: type {} = {}", of.ident, text(&of.ty)));
                        }
                    }
                    lines.insert(head);
                    continue;
                }
                for member in &item.items {
                    match member {
                        ImplItem::Fn(function) if is_public(&function.vis) => {
                            let marks = marks(&item.attrs) + &marks(&function.attrs);
                            lines.insert(format!(
                                "{marks}impl{generics} {of}: {}",
                                text(&function.sig)
                            ));
                        }
                        ImplItem::Const(constant) if is_public(&constant.vis) => {
                            let (name, of_type) = (&constant.ident, text(&constant.ty));
                            lines.insert(format!("impl{generics} {of}: const {name}: {of_type}"));
                        }
                        _ => {}
                    }
                }
            }
            // A block of implementations.
            Item::Const(item) if item.ident == "_" => {
                if let syn::Expr::Block(block) = &*item.expr {
                    let items: Vec<_> = block
                        .block
                        .stmts
                        .iter()
                        .filter_map(|statement| match statement {
                            syn::Stmt::Item(item) => Some(item.clone()),
                            _ => None,
                        })
                        .collect();
                    let mut inner = BTreeSet::new();
                    list(&items, names, hidden, &mut inner);
                    lines.extend(inner.into_iter().map(|line| marks(&item.attrs) + &line));
                }
            }
            _ => {}
        }
    }
}

/// All Rust files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The lines of the sources that are below a façade, and of the façade.
fn lines_of(facade: &str, below: &[String]) -> BTreeSet<String> {
    let facade = syn::parse_file(facade).unwrap();
    let mut names = BTreeSet::new();
    let mut lines = BTreeSet::new();
    for item in &facade.items {
        match item {
            Item::Use(item) if is_public(&item.vis) => exported(&item.tree, &mut names),
            Item::Mod(item) if is_public(&item.vis) => {
                lines.insert(format!("{}mod {}", marks(&item.attrs), item.ident));
            }
            _ => {}
        }
    }
    let below: Vec<_> = below.iter().map(|source| syn::parse_file(source).unwrap().items).collect();
    let mut hidden = BTreeSet::new();
    below.iter().for_each(|items| defined(items, &mut hidden));
    hidden.retain(|name| !names.contains(name));
    for items in &below {
        list(items, &names, &hidden, &mut lines);
    }
    lines.extend(names.iter().map(|name| format!("use {name}")));
    lines
}

#[test]
fn the_list_is_the_interface() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let mut all = Vec::new();
    files(&root.join("src"), &mut all);
    let (events, others): (Vec<_>, Vec<_>) =
        all.iter().partition(|path| path.starts_with(root.join("src/events")));
    let sources =
        |paths: Vec<&PathBuf>| paths.into_iter().map(|path| read(path)).collect::<Vec<_>>();
    let mut lines = lines_of(&read(&root.join("src/lib.rs")), &sources(others));
    let of_events = lines_of(&read(&root.join("src/events.rs")), &sources(events));
    lines.extend(of_events.into_iter().map(|line| format!("events: {line}")));
    assert!(lines.len() > 300);
    let listed: String = lines.iter().map(|line| line.clone() + "\n").collect();

    let path = root.join(LIST);
    if std::env::var_os("UPDATE_API").is_some() {
        fs::write(&path, &listed).unwrap();
    }
    let known = read(&path);
    let known: BTreeSet<&str> = known.lines().collect();
    let now: BTreeSet<&str> = listed.lines().collect();
    let new: Vec<_> = now.difference(&known).collect();
    let gone: Vec<_> = known.difference(&now).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "the interface is not the list in {LIST} (UPDATE_API=1 writes it anew):\nnew: {new:#?}\ngone: {gone:#?}"
    );
}

/// The control: whatever a program may rely on changes the list.
#[test]
fn control_a_change_of_the_interface_changes_the_list() {
    const FACADE: &str = "mod a; pub use a::{One, Two, Three, four};";
    const BEFORE: &str = "
        #[derive(Debug)] pub struct One<T> { pub public: u8, private: T }
        impl<T> One<T> { pub fn get(&self) -> &T { &self.private } fn hidden(&self) {} }
        impl<T: Clone> Clone for One<T> { fn clone(&self) -> Self { todo!() } }
        #[non_exhaustive] pub enum Two { A, B(u8) }
        pub trait Three: Send { type Of: Copy; const N: u8; fn three(&self) -> usize; }
        pub fn four(x: u8) -> Result<u8, ()> { Ok(x) }
        pub(crate) struct Hidden { pub x: u8 }
        #[macro_export] macro_rules! five { () => {} }
        #[cfg(feature = \"six\")] const _: () = { impl Three for Two { fn three(&self) -> usize { 6 } } };
        impl PartialEq<&One<u8>> for str { fn eq(&self, _: &&One<u8>) -> bool { true } }
        impl<T: Unpin> Three for [T] { type Of = u8; }
        impl From<Two> for Hidden { fn from(_: Two) -> Self { todo!() } }
        impl From<Hidden> for u8 { fn from(_: Hidden) -> Self { todo!() } }";
    let before = lines_of(FACADE, &[BEFORE.to_owned()]);
    for (from, to) in [
        ("pub public: u8", "pub public: u16"),
        ("pub public: u8", "public: u8"),
        ("&self) -> &T", "&mut self) -> &T"),
        ("pub fn get", "fn get"),
        ("derive(Debug)", "derive(Debug, Default)"),
        ("T: Clone", "T: Copy"),
        ("B(u8)", "B(u8), C"),
        ("#[non_exhaustive] ", ""),
        ("Three: Send", "Three: Send + Sync"),
        ("-> usize;", "-> u8;"),
        ("x: u8) -> Result", "x: u16) -> Result"),
        ("macro_rules! five", "macro_rules! six"),
        ("feature = \"six\"", "feature = \"seven\""),
        ("impl Three for Two", "impl Three for One<u8>"),
        ("One<u8>> for str", "One<u8>> for String"),
        ("T: Unpin", "T: Sync"),
        ("type Of = u8", "type Of = u16"),
        ("type Of: Copy", "type Of: Clone"),
        ("const N: u8", "const N: u16"),
    ] {
        assert!(BEFORE.contains(from));
        let after = lines_of(FACADE, &[BEFORE.replacen(from, to, 1)]);
        assert_ne!(before, after, "{from} to {to}");
    }
    for (from, to) in [
        ("private: T", "private: Option<T>"),
        ("pub x", "pub y"),
        ("todo!()", "loop {}"),
        ("From<Two> for Hidden", "From<Two> for [Hidden; 2]"),
        ("From<Hidden> for u8", "From<Hidden> for u16"),
    ] {
        assert_eq!(before, lines_of(FACADE, &[BEFORE.replacen(from, to, 1)]), "{from} to {to}");
    }
    assert_ne!(before, lines_of("mod a; pub use a::{One, Two, Three};", &[BEFORE.to_owned()]));
}
