import Testing
@Suite struct ConfigPlaceholderTests {}
