# The same job as conf/weir.conf where it stores responses: an hour, as the others. Varnish's log
# goes to shared memory; nobody reads it here, which is in its favour.
vcl 4.1;

@IMPORT@
backend app {
    .host = "@ORIGIN@";
    .port = "@ORIGINPORT@";
}

sub vcl_backend_response {
    set beresp.ttl = 1h;
@TAGS@}
@PURGE@
