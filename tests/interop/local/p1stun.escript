#!/usr/bin/env escript
%% tests/interop/local/p1stun.escript - the TURN server of ejabberd and eturnal as a process
%%
%% Arguments: the address to listen on, port, realm, user, password, relayed IPv4 and IPv6
%% addresses. Serves UDP and TCP until it is ended.

main([Listen, Port, Realm, User, Password, Relay4, Relay6]) ->
    logger:set_primary_config(level, notice),
    {ok, _} = application:ensure_all_started(stun),
    {ok, Address} = inet:parse_address(Listen),
    {ok, V4} = inet:parse_ipv4_address(Relay4),
    {ok, V6} = inet:parse_ipv6_address(Relay6),
    Expected = unicode:characters_to_binary(User),
    Secret = unicode:characters_to_binary(Password),
    Options = [use_turn,
               {auth_type, user},
               {auth_realm, unicode:characters_to_binary(Realm)},
               {auth_fun, fun(Name, _) when Name =:= Expected -> Secret; (_, _) -> <<>> end},
               {turn_ipv4_address, V4},
               {turn_ipv6_address, V6},
               {turn_max_allocations, infinity},
               {turn_max_permissions, infinity}],
    [ok = stun_listener:add_listener(Address, list_to_integer(Port), Transport, Options)
     || Transport <- [udp, tcp]],
    receive stop -> ok end.
