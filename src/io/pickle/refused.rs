//! Names that no checkpoint needs and that attacks do.

/// Modules and names of modules, with everything below them.
const REFUSED: [&str; 74] = [
    "_io.FileIO",
    "_io.open",
    "_io.open_code",
    "_pickle",
    "_posixsubprocess",
    "_socket",
    "_thread",
    "aiohttp",
    "asyncio",
    "bdb",
    "cPickle",
    "cProfile",
    "cffi",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "dill.load",
    "dill.loads",
    "distutils",
    "doctest.debug_script",
    "ensurepip",
    "ftplib",
    "http.client",
    "http.server",
    "httplib",
    "idlelib",
    "importlib",
    "io.FileIO",
    "io.open",
    "io.open_code",
    "joblib.load",
    "marshal",
    "multiprocessing",
    "nt",
    "numpy.load",
    "numpy.testing._private.utils.runstring",
    "os",
    "pdb",
    "pickle",
    "pip",
    "pkgutil",
    "platform.popen",
    "popen2",
    "posix",
    "profile",
    "pty",
    "pydoc",
    "requests",
    "runpy",
    "shutil",
    "signal.alarm",
    "signal.pthread_kill",
    "signal.raise_signal",
    "signal.signal",
    "smtplib",
    "socket.create_connection",
    "socket.create_server",
    "socket.socket",
    "subprocess",
    "sys",
    "telnetlib",
    "timeit",
    "torch.hub",
    "torch.load",
    "torch.utils.collect_env",
    "torch.utils.cpp_extension",
    "trace.Trace",
    "urllib.request",
    "urllib.urlopen",
    "urllib2",
    "webbrowser",
    "xmlrpc",
    "zipimport",
];

/// Functions of Python itself, under either name of their module.
const BUILTINS: [&str; 18] = [
    "__import__",
    "apply",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "exit",
    "file",
    "globals",
    "input",
    "locals",
    "open",
    "quit",
    "raw_input",
    "reload",
    "setattr",
];

/// Modules that other modules hold, so that `posixpath` reaches `os.system` by the name `os.system`.
const REACHED: [&str; 13] = [
    "__builtin__",
    "__builtins__",
    "_os",
    "builtins",
    "importlib",
    "nt",
    "os",
    "posix",
    "pty",
    "runpy",
    "shutil",
    "subprocess",
    "sys",
];

/// Names in `os` that only make plain values.
const HARMLESS: [&str; 4] = ["os.PathLike", "os.stat_result", "os._Environ", "os.terminal_size"];

/// Whether a pickle that asks for this name is refused altogether.
pub(super) fn is_refused(module: &str, name: &str) -> bool {
    let path = format!("{module}.{name}");
    if HARMLESS.contains(&path.as_str()) {
        return false;
    }
    let within = |part: &str| {
        path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let first = name.split('.').next().unwrap_or_default();
    match module {
        "builtins" | "__builtin__" => BUILTINS.contains(&first),
        _ => REFUSED.iter().any(|part| within(part)) || REACHED.contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_refused_and_what_frameworks_leave_is_not() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("os.path", "os.system"),
            ("posixpath", "os.system"),
            ("glob", "os"),
            ("builtins", "eval"),
            ("__builtin__", "execfile"),
            ("builtins", "__import__"),
            ("subprocess", "Popen"),
            ("importlib", "import_module"),
            ("urllib.request", "urlopen"),
            ("io", "open"),
            ("pickle", "loads"),
            ("torch.utils.collect_env", "run"),
        ] {
            assert!(is_refused(module, name), "{module}.{name}");
        }
        for (module, name) in [
            ("__builtin__", "long"),
            ("__builtin__", "unicode"),
            ("__builtin__", "xrange"),
            ("builtins", "type"),
            ("builtins", "Ellipsis"),
            ("builtins", "getattr"),
            ("functools", "partial"),
            ("operator", "itemgetter"),
            ("_operator", "attrgetter"),
            ("io", "BytesIO"),
            ("_io", "BytesIO"),
            ("signal", "Signals"),
            ("urllib.parse", "ParseResult"),
            ("os", "PathLike"),
            ("osgeo", "thing"),
            ("codecs", "encode"),
            ("_codecs", "encode"),
            ("torch.nn.modules.linear", "Linear"),
            ("pathlib", "PosixPath"),
            ("numpy.random._pickle", "__randomstate_ctor"),
        ] {
            assert!(!is_refused(module, name), "{module}.{name}");
        }
    }
}
