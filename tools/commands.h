/* SPDX-License-Identifier: MIT */
/*
 * The commands of `pollux`. Each is handed its own arguments, argv[0] being the command's word, and
 * returns the program's exit status (enum plx_cli_exit).
 */
#ifndef POLLUX_TOOLS_COMMANDS_H
#define POLLUX_TOOLS_COMMANDS_H

int plx_cmd_topo(int argc, char **argv);
int plx_cmd_env(int argc, char **argv);
int plx_cmd_echo(int argc, char **argv);
int plx_cmd_echo_server(int argc, char **argv);
int plx_cmd_echo_client(int argc, char **argv);
int plx_cmd_cp(int argc, char **argv);
int plx_cmd_bench(int argc, char **argv);

#endif
