import CLinux
import Glibc
import Primitives

/// What a receiving call came to.
public enum ReceiveResult: BitwiseCopyable, Equatable {
  /// At least one octet.
  case octets(Int)
  case wouldBlock
  /// The peer closed its direction in order.
  case ended
  /// Reset, or another error: its errno.
  case failed(Int32)
}

/// What a sending call came to.
public enum SendResult: BitwiseCopyable, Equatable {
  /// Octets taken by the kernel, perhaps fewer than offered.
  case octets(Int)
  case wouldBlock
  case failed(Int32)
}

/// The system calls on connected stream sockets. All sockets are nonblocking and close-on-exec.
public enum SocketCalls {
  public static func receive(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ capacity: Int
  ) -> ReceiveResult {
    while true {
      let count = weir_recv(descriptor, buffer, capacity)
      if count > 0 { return .octets(count) }
      if count == 0 { return .ended }
      let error = weir_errno()
      if error == EAGAIN { return .wouldBlock }
      if error != EINTR { return .failed(error) }
    }
  }

  /// What could be received, which stays in the socket.
  public static func peek(
    _ descriptor: Int32, _ buffer: UnsafeMutableRawPointer, _ capacity: Int
  ) -> ReceiveResult {
    while true {
      let count = recv(descriptor, buffer, capacity, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
      if count > 0 { return .octets(count) }
      if count == 0 { return .ended }
      let error = weir_errno()
      if error == EAGAIN { return .wouldBlock }
      if error != EINTR { return .failed(error) }
    }
  }

  public static func send(_ descriptor: Int32, _ bytes: ByteView) -> SendResult {
    while true {
      let count = weir_send(descriptor, bytes.pointer, bytes.count)
      if count >= 0 { return .octets(count) }
      let error = weir_errno()
      if error == EAGAIN { return .wouldBlock }
      if error != EINTR { return .failed(error) }
    }
  }

  /// One call for two parts.
  public static func send(
    _ descriptor: Int32, _ first: ByteView, _ second: ByteView
  ) -> SendResult {
    withUnsafeTemporaryAllocation(of: iovec.self, capacity: 2) { parts in
      parts[0] = iovec(iov_base: .init(mutating: first.pointer), iov_len: first.count)
      parts[1] = iovec(iov_base: .init(mutating: second.pointer), iov_len: second.count)
      var message = msghdr()
      message.msg_iov = parts.baseAddress
      message.msg_iovlen = 2
      while true {
        let count = sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
        if count >= 0 { return .octets(count) }
        let error = weir_errno()
        if error == EAGAIN { return .wouldBlock }
        if error != EINTR { return .failed(error) }
      }
    }
  }

  /// One call for a head and `count` pieces; `parts` has room for one more, which is used where
  /// there is a head.
  static func send(
    _ descriptor: Int32, _ head: ByteView, _ parts: UnsafeMutablePointer<iovec>, _ count: Int
  ) -> SendResult {
    var count = count
    if !head.isEmpty {
      for index in stride(from: count, to: 0, by: -1) { parts[index] = parts[index - 1] }
      parts[0] = iovec(iov_base: .init(mutating: head.pointer), iov_len: head.count)
      count += 1
    }
    var message = msghdr()
    message.msg_iov = parts
    message.msg_iovlen = count
    while true {
      let taken = sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
      if taken >= 0 { return .octets(taken) }
      let error = weir_errno()
      if error == EAGAIN { return .wouldBlock }
      if error != EINTR { return .failed(error) }
    }
  }

  /// Moves octets between a socket and a pipe without copying them.
  public static func splice(
    from source: Int32, to sink: Int32, atMost count: Int, moreFollows: Bool
  ) -> ReceiveResult {
    let flags =
      WEIR_SPLICE_F_MOVE | WEIR_SPLICE_F_NONBLOCK | (moreFollows ? WEIR_SPLICE_F_MORE : 0)
    while true {
      let moved = CLinux.splice(source, nil, sink, nil, count, flags)
      if moved > 0 { return .octets(moved) }
      if moved == 0 { return .ended }
      let error = weir_errno()
      if error == EAGAIN { return .wouldBlock }
      if error != EINTR { return .failed(error) }
    }
  }

  /// The error a nonblocking connect ended with; 0 for success.
  public static func pendingError(_ descriptor: Int32) -> Int32 {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &value, &length) == 0
      ? value : weir_errno()
  }

  /// The error of a port where nobody listens.
  public static var refused: Int32 { ECONNREFUSED }

  /// Descriptors that the process may have at once.
  public static var descriptorLimit: Int {
    var limit = rlimit()
    let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    return getrlimit(resource, &limit) == 0 ? Int(clamping: limit.rlim_cur) : 1024
  }

  /// Whether this errno says that the process or the machine has run out of something.
  public static func isExhausted(_ error: Int32) -> Bool {
    switch error {
    case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL: true
    default: false
    }
  }

  /// Our end of a connection; `nil` for unix sockets.
  public static func localAddress(_ descriptor: Int32) -> (address: IPAddress, port: UInt16)? {
    guard case .ip(let address, let port)? = Listener.name(of: descriptor) else { return nil }
    return (address, port)
  }

  /// Whether an idle connection is still quiet: nothing to read, not closed, not failed.
  public static func isQuiet(_ descriptor: Int32) -> Bool {
    var octet: UInt8 = 0
    return recv(descriptor, &octet, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) < 0
      && weir_errno() == EAGAIN
  }

  public static func closeSending(_ descriptor: Int32) {
    _ = shutdown(descriptor, Int32(SHUT_WR))
  }

  public static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

  /// Resets the connection and keeps the socket for another one (connect(2), AF_UNSPEC). False
  /// where that is not to be had, as of a unix socket.
  public static func disconnect(_ descriptor: Int32) -> Bool {
    var nowhere = sockaddr()
    nowhere.sa_family = sa_family_t(AF_UNSPEC)
    return connect(descriptor, &nowhere, socklen_t(MemoryLayout<sockaddr>.size)) == 0
  }

  /// Closes so that the peer sees a reset, not an orderly end: for messages cut short, which no
  /// client may take for complete.
  public static func reset(_ descriptor: Int32) {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(
      descriptor, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    _ = Glibc.close(descriptor)
  }
}
