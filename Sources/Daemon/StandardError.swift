import Glibc

/// Blocking writes for what a person is waiting to read.
public enum StandardError {
  public static func write(_ text: String) {
    var line = text.hasSuffix("\n") ? text : text + "\n"
    line.withUTF8 { bytes in
      var sent = 0
      while sent < bytes.count {
        let count = Glibc.write(2, bytes.baseAddress! + sent, bytes.count - sent)
        guard count > 0 else { return }
        sent += count
      }
    }
  }
}
