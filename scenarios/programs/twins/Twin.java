// SPDX-License-Identifier: Apache-2.0

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketAddress;
import java.util.Arrays;

/**
 * A Java thread for each connection, which blocks in a read of its
 * InputStream. Usage and truth as of the other twins, see twin.h.
 *
 * The JDK has no way to a socket's descriptor; the truth has none.
 */
final class Twin {
	/** As jdk.net's NioSocketImpl reads without SO_TIMEOUT. */
	private static final String FUNCTION =
		"Java_sun_nio_ch_SocketDispatcher_read0";

	private final String role, task;
	private final Socket socket;

	private Twin(String role, int number, String end) throws IOException {
		int colon = end.lastIndexOf(':');
		String host = end.substring(0, colon).replaceAll("[\\[\\]]", "");
		byte[] request = new byte[64];

		this.role = role;
		this.task = role + "-" + number;
		socket = new Socket(host,
			Integer.parseInt(end.substring(colon + 1)));
		Arrays.fill(request, (byte)'x');
		request[63] = '\n';
		socket.getOutputStream().write(request);
	}

	private static synchronized void say(String line) {
		System.out.println(line);
		System.out.flush();
	}

	/** What the kernel's names say of an exception of a read. */
	private static String word(IOException e) {
		String text = String.valueOf(e.getMessage());

		return text.contains("reset") ? "ECONNRESET"
			: text.contains("timed out") ? "ETIMEDOUT"
			: text;
	}

	/** Where it is stranded. */
	private void waitReply() {
		String error = "EOF";

		try {
			byte[] buf = new byte[4096];
			while (socket.getInputStream().read(buf) > 0)
				continue;
		} catch (IOException e) {
			error = word(e);
		}
		say("{\"event\":\"returned\",\"role\":\"" + role
			+ "\",\"error\":\"" + error + "\"}");
	}

	private static String text(SocketAddress end) {
		InetSocketAddress a = (InetSocketAddress)end;
		String host = a.getAddress().getHostAddress();
		boolean v6 = host.indexOf(':') >= 0;

		// "fd90:1:0:0:0:0:0:1%eth0" is how Java writes fd90:1::1
		return (v6 ? "[" + canonical(host) + "]" : host) + ":"
			+ a.getPort();
	}

	/** RFC 5952: the first longest run of zeros is "::". */
	private static String canonical(String host) {
		String s = ":" + host.replaceAll("%.*", "") + ":";

		for (int n = 8; n > 1; n--) {
			String zeros = ":" + "0:".repeat(n);
			int at = s.indexOf(zeros);
			if (at >= 0)
				return (s.substring(0, at) + "::"
					+ s.substring(at + zeros.length()))
					.replaceAll("^:(?!:)|(?<!:):$", "");
		}
		return host;
	}

	private String truth() {
		return "{\"role\":\"" + role + "\",\"local\":\""
			+ text(socket.getLocalSocketAddress())
			+ "\",\"remote\":\""
			+ text(socket.getRemoteSocketAddress())
			+ "\",\"task\":\"" + task + "\",\"function\":\""
			+ FUNCTION + "\",\"blocked\":\"read\"}";
	}

	public static void main(String[] args) throws IOException {
		String target = null, healthy = null, all = "";
		int n = 1;

		for (int i = 0; i + 1 < args.length; i += 2) {
			switch (args[i]) {
			case "--target": target = args[i + 1]; break;
			case "--healthy": healthy = args[i + 1]; break;
			case "--n": n = Integer.parseInt(args[i + 1]); break;
			default: System.exit(64);
			}
		}
		if (target == null || healthy == null)
			System.exit(64);
		for (int i = 0; i < 2 * n; i++) {
			Twin twin = i % 2 == 0 ? new Twin("target", i / 2, target)
				: new Twin("healthy", i / 2, healthy);
			new Thread(twin::waitReply, twin.task).start();
			all += (i > 0 ? "," : "") + twin.truth();
		}
		say("{\"pid\":" + ProcessHandle.current().pid()
			+ ",\"connections\":[" + all + "]}");
	}
}
