// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"grove/internal/sandbox"
)

// maxMessage bounds what comes out of an editor; a commit object could hold more.
const maxMessage = 1 << 20

// editMessage has an editor ask for subject and body, beginning with those that there are.
func (a *app) editMessage(branch, subject, body string) (_, _ string, err error) {
	editor, err := a.editor()
	if err != nil {
		return "", "", err
	}
	dir, err := os.MkdirTemp("", "grove-commit")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "COMMIT_MESSAGE")
	if err := os.WriteFile(file, []byte(messageTemplate(branch, subject, body)), 0o600); err != nil {
		return "", "", err
	}
	stdout := fileOf(a.stdout)
	stderr := fileOf(a.stderr)
	code, err := sandbox.RunHost(sandbox.HostCommand{Argv: []string{"/bin/sh", "-c", editor + ` "$1"`, editor, file}, Stdin: a.stdin, Stdout: stdout, Stderr: stderr})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d", code)
	}
	if err != nil {
		return "", "", fmt.Errorf("editor %s: %w", editor, err)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", "", fmt.Errorf("editor %s: %w", editor, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMessage+1))
	if err == nil && len(text) > maxMessage {
		err = fmt.Errorf("editor %s: a message of more than %d bytes", editor, maxMessage)
	}
	if err != nil {
		return "", "", err
	}
	subject, body = splitMessage(string(text))
	if subject == "" {
		return "", "", fmt.Errorf("commit: the message is empty, so there is no commit")
	}
	return subject, body, nil
}

// editor is the command line of the person's editor.
//
//	source  ostree src/ostree/ot-editor.c, get_editor
func (a *app) editor() (string, error) {
	dumb := a.getenv("TERM") == "" || a.getenv("TERM") == "dumb"
	names := []string{"OSTREE_EDITOR", "VISUAL", "EDITOR"}
	if dumb {
		names = []string{"OSTREE_EDITOR", "EDITOR"}
	}
	for _, name := range names {
		if v := a.getenv(name); v != "" {
			return v, nil
		}
	}
	if dumb {
		return "", fmt.Errorf("commit --editor: this is no terminal for an editor, and EDITOR names none; -s and --body-file take texts")
	}
	return "vi", nil
}

// messageTemplate is what the editor begins with.
func messageTemplate(branch, subject, body string) string {
	var b strings.Builder
	for _, text := range []string{subject, body} {
		if text != "" {
			b.WriteString(strings.TrimRight(text, "\n") + "\n\n")
		}
	}
	if b.Len() == 0 {
		b.WriteByte('\n')
	}
	b.WriteString("# The first line is the subject, what follows the body. Lines that begin with # are left out.\n# Without a subject there is no commit.\n")
	if branch != "" {
		b.WriteString("#\n# Branch: " + branch + "\n")
	}
	return b.String()
}

// splitMessage takes the comments out of a text and divides it.
//
//	source  ostree src/ostree/ot-builtin-commit.c, commit_editor
func splitMessage(text string) (subject, body string) {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n\v\f")
		switch {
		case strings.HasPrefix(line, "#") || line == "" && len(lines) == 0:
		case subject == "":
			subject = line
		default:
			lines = append(lines, line)
		}
	}
	return subject, strings.TrimRight(strings.Join(lines, "\n"), "\n")
}
