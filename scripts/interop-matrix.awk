# Makes the tables of docs/interop.md from what is promised (scripts/interop.cells) and what was seen (rows of the tests, after it).
# A cell of a line that names fewer columns than its table has is empty, too. Names each on standard error; exit code 1 if there is one.

function trim(text) { gsub(/^[ \t]+|[ \t]+$/, "", text); return text }

# Whether a row says all of this, each as one of the things it is made of.
function says(row, wanted,   part, parts, i) {
    parts = split(wanted, part, ";")
    for (i = 1; i <= parts; i++)
        if (index(things[row], SUBSEP trim(part[i]) SUBSEP) == 0) return 0
    return 1
}

function seen_text(row,   sound) {
    sound = sounds[row]
    return pictures[row] " pictures, " (sound == "decoded" ? "sound" : sound == "silent" ? "silent" : "no sound in it")
}

function cell(peer, direction, line, column,   row) {
    sub(/ \(.*\)$/, "", direction)
    for (row = 1; row <= rows; row++)
        if (index(peers[row], peer) == 1 && directions[row] == direction &&
            says(row, line) && says(row, column))
            return seen_text(row)
    return ""
}

FNR == 1 { file++ }

file == 1 {
    if ($0 ~ /^#/ || trim($0) == "") next
    count = split($0, field, "|")
    peer = trim(field[1]); direction = trim(field[2]); line = trim(field[3])
    table = peer SUBSEP direction
    if (!(table in known)) { known[table] = 1; tables[++table_count] = table }
    if (!((table, line) in line_known)) { line_known[table, line] = 1; lines[table, ++line_count[table]] = line }
    columns_here = split(field[4], column, "/")
    for (i = 1; i <= columns_here; i++) {
        one = trim(column[i])
        if (!((table, one) in column_known)) { column_known[table, one] = 1; columns[table, ++column_count[table]] = one }
        if (count > 4) reasons[table, line, one] = trim(field[5])
    }
    next
}

/^\|/ {
    split($0, field, "|")
    rows++
    peers[rows] = trim(field[2]); directions[rows] = trim(field[3])
    pictures[rows] = trim(field[6]); sounds[rows] = trim(field[7])
    all = ""
    parts = split(field[4], part, ";")
    for (i = 1; i <= parts; i++) all = all SUBSEP trim(part[i])
    parts = split(field[5], part, ",")
    for (i = 1; i <= parts; i++) all = all SUBSEP trim(part[i])
    things[rows] = all SUBSEP
}

END {
    for (t = 1; t <= table_count; t++) {
        table = tables[t]
        split(table, name, SUBSEP)
        printf "### %s: %s\n\n|", name[1], name[2]
        for (c = 1; c <= column_count[table]; c++) printf " | %s", columns[table, c]
        printf " |\n|---|"
        for (c = 1; c <= column_count[table]; c++) printf "---|"
        printf "\n"
        for (l = 1; l <= line_count[table]; l++) {
            line = lines[table, l]
            printf "| %s |", line
            for (c = 1; c <= column_count[table]; c++) {
                column_name = columns[table, c]
                text = cell(name[1], name[2], line, column_name)
                if (text == "" && (table, line, column_name) in reasons) text = "no: " reasons[table, line, column_name]
                if (text == "") {
                    text = "**nothing**"
                    printf "no row for %s, %s: %s, %s\n", name[1], name[2], line, column_name > "/dev/stderr"
                    empty++
                }
                printf " %s |", text
            }
            printf "\n"
        }
        printf "\n"
    }
    exit empty > 0
}
