//! Holds the walls of the house: what `ARCHITECTURE.md` and the style guide promise, read off the
//! source with a parser. Each rule is one test; a failure lists every place and what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// Which parts of the crate each floor may use. A part may always use itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("scoring", &["domain"]),
    ("healing", &["domain"]),
    ("simulator", &["domain"]),
    ("tasks", &[]),
    ("telemetry", &["domain", "scoring", "healing", "runtime", "tasks"]),
    ("runtime", &["domain", "scoring", "healing", "telemetry", "tasks"]),
    ("edge", &["domain", "scoring", "healing", "runtime", "telemetry", "tasks"]),
    ("config", &["domain", "scoring", "healing", "runtime", "edge", "telemetry", "tasks"]),
    ("app", &["domain", "scoring", "healing", "runtime", "edge", "telemetry", "tasks", "config"]),
    ("cli", &["domain", "scoring", "healing", "simulator", "runtime", "edge", "telemetry", "tasks", "config", "app"]),
    ("main", &["fraudd"]),
    ("lib", &[]),
];

/// What a pure floor never names.
const IMPURE: &[&str] = &[
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "std::fs",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::env",
    "std::process",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::sync::mpsc",
    "std::collections::HashMap",
    "std::collections::HashSet",
    "tokio",
    "parking_lot",
    "tracing",
    "crossbeam",
    "arc_swap",
    "axum",
    "ort",
];

/// Pure files that may break one rule, each with its reason.
const EXEMPT: &[(&str, &str)] = &[
    // The parser of the cel crate needs a 16 MiB stack, which only a thread of its own can give it.
    ("src/scoring/expression/parse.rs", "std::thread"),
];

struct File {
    path: String,
    text: String,
    tree: syn::File,
}

impl File {
    /// The part of the crate this file belongs to: its first folder or its name.
    fn part(&self) -> &str {
        let inner = self.path.trim_start_matches("src/");
        inner.split('/').next().unwrap_or(inner).trim_end_matches(".rs")
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "no source under {folder}");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a readable file");
        let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let path = path.strip_prefix(root()).expect("inside the tree").to_string_lossy().into_owned();
        File { path, text, tree }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            paths.push(path);
        }
    }
}

fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Every path of a file outside its test modules, as `a::b::c`, use trees flattened.
#[derive(Default)]
struct Paths(BTreeSet<String>);

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        flatten(&item.tree, String::new(), &mut self.0);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.0.insert(segments.join("::"));
        syn::visit::visit_path(self, path);
    }
}

fn flatten(tree: &syn::UseTree, prefix: String, found: &mut BTreeSet<String>) {
    let join = |name: &syn::Ident| if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
    match tree {
        syn::UseTree::Path(path) => flatten(&path.tree, join(&path.ident), found),
        syn::UseTree::Name(name) => drop(found.insert(join(&name.ident))),
        syn::UseTree::Rename(rename) => drop(found.insert(join(&rename.ident))),
        syn::UseTree::Glob(_) => drop(found.insert(prefix)),
        syn::UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, prefix.clone(), found)),
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn paths_of(file: &File) -> BTreeSet<String> {
    let mut paths = Paths::default();
    paths.visit_file(&file.tree);
    paths.0
}

#[test]
fn imports_go_down_only() {
    let mut found = Vec::new();
    for file in rust_files("src").iter().filter(|file| !file.is_test()) {
        let Some((part, allowed)) = MAY_USE.iter().find(|(part, _)| *part == file.part()) else {
            found.push(format!("{}: belongs to no floor; name it in MAY_USE", file.path));
            continue;
        };
        for path in paths_of(file) {
            let mut segments = path.split("::");
            let used = match segments.next() {
                // `pub(crate)` is a path too, and names no part.
                Some("crate") => segments.next().unwrap_or(part),
                _ => continue,
            };
            if used != *part && !allowed.contains(&used) {
                found.push(format!("{}: uses {path}, but {part} may use only {allowed:?}", file.path));
            }
        }
    }
    report("imports go down only", &found);
}

#[test]
fn pure_floors_are_pure() {
    let mut found = Vec::new();
    for file in rust_files("src").iter().filter(|file| !file.is_test()) {
        let part = file.part();
        if !matches!(part, "domain" | "scoring" | "simulator" | "healing") {
            continue;
        }
        for path in paths_of(file) {
            let impure = IMPURE.iter().find(|name| path == **name || path.starts_with(&format!("{name}::")));
            let own_chance = part != "simulator" && path.starts_with("rand");
            let exempt = EXEMPT.iter().any(|(place, what)| *place == file.path && path.starts_with(what));
            if (impure.is_some() || own_chance) && !exempt {
                found.push(format!("{}: names {path}; give it the value from runtime instead", file.path));
            }
        }
        if file.text.contains("async fn") {
            found.push(format!("{}: async on a pure floor", file.path));
        }
    }
    report("pure floors know no clock, lock, thread, chance or I/O", &found);
}

#[test]
fn rooms_stay_small() {
    let mut found = Vec::new();
    for file in rust_files("src").iter().filter(|file| !file.is_test()) {
        let tests: usize = file.tree.items.iter().map(test_lines).sum();
        let lines = file.text.lines().count() - tests;
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines; split the room", file.path));
        }
        let mut functions = Functions { file, found: &mut found };
        functions.visit_file(&file.tree);
    }
    report("a file stays under 500 lines, a function under 70", &found);
}

fn test_lines(item: &syn::Item) -> usize {
    match item {
        syn::Item::Mod(module) if is_test_only(&module.attrs) => lines_of(module),
        _ => 0,
    }
}

fn lines_of(node: &impl Spanned) -> usize {
    node.span().end().line - node.span().start().line + 1
}

struct Functions<'a> {
    file: &'a File,
    found: &'a mut Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, name: &syn::Ident, block: &syn::Block) {
        let lines = lines_of(block);
        if lines > FUNCTION_LINES_MAX {
            self.found.push(format!("{}: {name} has {lines} lines; split it", self.file.path));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn every_file_tells_its_story() {
    let mut found = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for file in rust_files(folder) {
            if !file.text.starts_with("//!") {
                found.push(format!("{}: open with //! what this room is for", file.path));
            }
        }
    }
    report("every file opens with its story", &found);
}

#[test]
fn public_items_are_sentences() {
    let mut found = Vec::new();
    for file in rust_files("src") {
        let mut docs = Docs { file: &file, found: &mut found };
        docs.visit_file(&file.tree);
    }
    report("a public item's documentation begins with a sentence that ends with a full stop", &found);
}

struct Docs<'a> {
    file: &'a File,
    found: &'a mut Vec<String>,
}

impl Docs<'_> {
    fn check(&mut self, visibility: &syn::Visibility, attributes: &[syn::Attribute], name: &syn::Ident) {
        if !matches!(visibility, syn::Visibility::Public(_)) || attributes.iter().any(|a| a.path().is_ident("expect")) {
            return;
        }
        let lines: Vec<String> = attributes.iter().filter_map(doc_line).collect();
        let first: Vec<&str> = lines.iter().map(|line| line.trim()).take_while(|line| !line.is_empty()).collect();
        let sentence = first.join(" ");
        if !sentence.contains(". ") && !sentence.ends_with(['.', ':', '?']) {
            self.found.push(format!("{}: {name}: {sentence:?}", self.file.path));
        }
    }
}

fn doc_line(attribute: &syn::Attribute) -> Option<String> {
    let syn::Meta::NameValue(meta) = &attribute.meta else { return None };
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &meta.value else { return None };
    meta.path.is_ident("doc").then(|| text.value())
}

impl<'ast> Visit<'ast> for Docs<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.check(&item.vis, &item.attrs, &item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.check(&item.vis, &item.attrs, &item.ident);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.vis, &item.attrs, &item.sig.ident);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.vis, &item.attrs, &item.sig.ident);
    }
}

/// Words that may not stand in the source, where, and why.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("unbounded_channel", &["src", "tests"], "every queue has a bound"),
    ("unbounded()", &["src", "tests"], "every queue has a bound"),
    ("#[ignore", &["src", "tests"], "a test runs or is deleted"),
    ("should_panic", &["src", "tests"], "assert on the value instead"),
    ("thread::sleep", &["src", "tests"], "wait for a condition"),
    ("allow(dead_code)", &["src"], "delete it"),
    ("allow(unused", &["src"], "delete it"),
    ("todo!(", &["src", "tests"], "finish it"),
    ("unimplemented!(", &["src", "tests"], "finish it"),
    ("macro_rules!", &["src"], "no macros of our own"),
    ("TODO", &["src", "tests"], "do it or file it"),
    ("FIXME", &["src", "tests"], "do it or file it"),
];

#[test]
fn banned_words_stay_out() {
    let mut found = Vec::new();
    for (word, folders, why) in BANNED {
        for file in folders.iter().flat_map(|folder| rust_files(folder)) {
            if file.path != "tests/house.rs" && file.text.contains(word) {
                found.push(format!("{}: {word}: {why}", file.path));
            }
        }
    }
    report("banned words stay out", &found);
}

#[test]
fn tests_do_not_sleep() {
    let asleep = |file: &File| (file.path.starts_with("tests/") || file.is_test()) && file.text.contains("time::sleep");
    let sleeping: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .filter(|file| file.path != "tests/house.rs" && asleep(file))
        .map(|file| format!("{}: pause time or wait for a condition", file.path))
        .collect();
    report("tests do not sleep", &sleeping);
}

#[test]
fn select_says_its_order() {
    let mut found = Vec::new();
    for file in rust_files("src") {
        for (number, line) in file.text.lines().enumerate() {
            let body = line.split_once("select! {").map(|(_, rest)| rest.trim());
            let mut following = file.text.lines().skip(number + 1).map(str::trim);
            let next = following.find(|line| !line.starts_with("//")).unwrap_or("");
            if body.is_some_and(|rest| !rest.starts_with("biased;") && !next.starts_with("biased;")) {
                found.push(format!("{}:{}: add biased; and why this order", file.path, number + 1));
            }
        }
    }
    report("select! is biased", &found);
}

#[test]
fn anyhow_stays_on_the_roof() {
    let roof = ["main", "app", "cli"];
    let found: Vec<String> = rust_files("src")
        .iter()
        .filter(|file| !roof.contains(&file.part()) && !file.is_test())
        .filter(|file| paths_of(file).iter().any(|path| path.starts_with("anyhow")))
        .map(|file| format!("{}: give this part an error enum", file.path))
        .collect();
    report("anyhow stays on the roof", &found);
}

#[test]
fn the_project_speaks_of_itself_only() {
    let mut found = Vec::new();
    let folders = ["src", "tests", "benches", "config", "docs", "models", "loadtest", "scripts"];
    let mut paths: Vec<PathBuf> = folders.iter().flat_map(|folder| every_file(&root().join(folder))).collect();
    paths.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "Makefile", "Cargo.toml"].map(|name| root().join(name)),
    );
    let places = [["/", "work/"].concat(), ["/", "root/"].concat(), ["/", "farm/"].concat(), ["/ho", "me/"].concat()];
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for place in &places {
            if text.contains(place.as_str()) {
                found.push(format!("{}: names {place}, a place on one machine", path.display()));
            }
        }
    }
    report("no path of one machine in the tree", &found);
}

fn every_file(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { every_file(&path) } else { vec![path] }).collect()
}
