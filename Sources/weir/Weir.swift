import ArgumentParser
import Daemon

/// The one binary: a daemon, and the commands that talk to it.
@main
struct Weir: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "weir",
    abstract: "A reverse proxy, load balancer and HTTP cache.",
    version: "weir \(Version.text)",
    subcommands: [
      RunCommand.self, CheckCommand.self, ReloadCommand.self, StatusCommand.self,
      PurgeCommand.self, PlanCommand.self, UpgradeCommand.self, ReadyCommand.self,
      DrainCommand.self, MaintCommand.self, DemoCommand.self,
    ])
}

/// Where the configuration is, for the commands that read it.
struct ConfigurationOption: ParsableArguments {
  @Option(name: [.customShort("c"), .customLong("config")], help: "The configuration file.")
  var config = "/etc/weir/proxy.conf"
}
