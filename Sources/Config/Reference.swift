import Primitives

/// The whole language as a Markdown page, made from the table of directives: docs/configuration.md
/// is this text, and a test keeps it so.
public func configurationReference() -> String {
  var page = Reference.preface
  for context in Context.allCases {
    page += "\n## \(Reference.title(context))\n"
    for row in DirectiveTable.rows(context) { page += Reference.entry(row) }
  }
  return page + Reference.routes
}

private enum Reference {
  static func title(_ context: Context) -> String {
    switch context {
    case .top: "Top level"
    case .listener: "In `listener`"
    case .listenerTLS: "In `tls` of a `listener`"
    case .upstream: "In `upstream`"
    case .upstreamTLS: "In `tls` of an `upstream`"
    case .route: "In `route`"
    }
  }

  static func entry(_ row: Directive) -> String {
    var text = "\n### `\(row.synopsis)`\n\n\(row.summary)\n\n"
    for argument in row.arguments where !isWordy(argument) {
      text += "- \(argument.label): \(argument.kind.description)\n"
    }
    for option in row.options {
      text += "- `\(option.key)=`: \(option.summary) Value: \(option.kind.description)."
      text += option.fallback.isEmpty ? "\n" : " Default: \(shown(option.fallback)).\n"
    }
    if !row.fallback.isEmpty {
      text += "- Default: \(shown(row.fallback)).\n"
    }
    if row.isRepeatable { text += "- May be given several times.\n" }
    return text
  }

  /// Whether the label itself lists the words.
  private static func isWordy(_ argument: Argument) -> Bool {
    guard case .word(let words, _) = argument.kind else { return false }
    return argument.label == words.joined(separator: "|")
  }

  /// Values in code type, sentences plain.
  private static func shown(_ fallback: String) -> String {
    fallback.contains(" ") && !fallback.contains(";") ? fallback : "`\(fallback)`"
  }

  static let preface = """
    # Configuration

    This page is generated from the table of directives that also parses and checks the file
    (`Sources/Config`). `weir check -c FILE` finds every fault of a file in one run.

    ## The language

    One directive a line: a name, its arguments, then `key=value` options. A block opens with `{`
    at the end of a directive's line and closes with `}` on a line of its own. `#` begins a
    comment, where a word could begin.

    ```
    listener web {
        bind :8080
    }
    upstream app {
        backend 10.0.0.11:8080
        backend 10.0.0.12:8080 weight=2
    }
    route * {
        upstream app
    }
    ```

    - **Words** end at a blank. Inside a word `#`, `{`, `}`, `\\` and `"` are ordinary characters.
    - **Quotes** hold a value with blanks: `"a b"`, `body="a b"`. In them `\\"`, `\\\\`, `\\$`,
      `\\n`, `\\r` and `\\t` are escapes. A word that is quoted as a whole is never an option.
    - **Environment**: `${NAME}` in a value is replaced, `${NAME:-value}` gives what stands for an
      unset or empty variable; an unset one without default is an error. What is put in stays
      inside its word.
    - **Durations** are a whole number and a unit: `250ms`, `10s`, `5m`, `1h`, `1d`.
    - **Sizes** are a whole number and a unit: `512B`, `64KiB`, `10MiB`, `1GiB`, `1TiB`.
    - Files have at most 16MiB, and include each other at most 16 deep.

    """

  static let routes = """

    ## Routes

    A pattern is a host, a path, or both:

    | pattern | requests |
    | --- | --- |
    | `*` | all |
    | `www.example.com` | to this host |
    | `*.example.com` | to every host below `example.com`, at any depth |
    | `www.example.com/about` | to this host, with exactly this path |
    | `www.example.com/media/*` | to this host, `/media` itself and everything below it |
    | `/media/*`, `*/media/*` | to any host, `/media` itself and everything below it |

    The port of the request plays no part, nor does the case of its host, nor one dot at the
    host's end. The path is compared byte by byte, with percent-encoded letters, digits and
    `- . _ ~` decoded on both sides: `/%61dmin` is `/admin`, but `/a%2Fb` is not `/a/b`, and
    `//admin` is not `/admin`. Paths with dot segments are refused with 400 before any route, and
    so is `..` beside an encoded slash or backslash, or with parameters (`..;x`). The query plays
    no part, but for `when query`, which compares decoded names and values.

    Which route takes a request does not depend on the order of the file, except where said:

    1. an exact host before the longest wildcard, before any host;
    2. within the host an exact path, before the longest prefix, before expressions
       (`when path ~`) in the order of the file, before any path;
    3. within host and path the route with more conditions, then the one written first.

    Where no route of one step fits the request, conditions included, the next step is tried, down
    to the next less specific host. A request that fits no route is answered with 404. An
    expression that exceeds its limits of matching steps ends the request with 500.
    """ + "\n"
}
